"""The catalogue: shipped devices, links, model shapes and fitted constants, with their readers."""
