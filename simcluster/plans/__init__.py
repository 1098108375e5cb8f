"""Plans of what is simulated: replicas, their devices and links, and the events that change them."""
