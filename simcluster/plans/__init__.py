"""From a resolved scenario to what is simulated: who runs where, over which links, under which conditions."""
