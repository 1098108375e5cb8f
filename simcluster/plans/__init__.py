"""From a resolved scenario to what is simulated: replicas, their devices and links, and what changes them."""
