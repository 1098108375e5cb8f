"""Policies of a serving engine as pure functions of a frozen view: schedulers, admission and routers."""
