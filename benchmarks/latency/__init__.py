"""Latency of every stage and of the whole service, compared with what a user would run instead."""
