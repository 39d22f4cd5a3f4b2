"""The whole of GoStack on one machine, with the real parts: what a developer, a test and a first visitor start.

Why the standard library alone: these modules run before the project's environment exists, since they make it.
"""
