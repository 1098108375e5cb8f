"""How long a pipeline stage takes in this world: costs in ticks, with noise, slow devices and stalls."""
