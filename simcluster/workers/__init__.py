"""Tasks on many processes or machines: the only part that knows Dask."""
