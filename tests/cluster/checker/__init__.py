"""Clients and faults at random on a real cluster, then a check of the whole history."""
