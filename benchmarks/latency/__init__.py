"""Latency of every stage and of the whole service, beside what a user would run instead."""
