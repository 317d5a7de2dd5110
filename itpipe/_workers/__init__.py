"""Pools of threads and processes, executors, shared memory; nothing here knows of stages."""
