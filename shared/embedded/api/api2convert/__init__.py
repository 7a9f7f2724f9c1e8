"""The API2Convert jobs API, v2: jobs with inputs, conversions and outputs.

A job is one record (:mod:`.store`); the routes change it, and the worker's part (:mod:`.runner`) works it
off under a request of the embedded service's queue.
"""
