"""What comes with simcluster: devices, links, model shapes and fitted constants, with their readers."""
