"""Choices that an engine makes, as plain functions of a frozen view: schedulers, admission and routers."""
