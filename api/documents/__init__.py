"""The shapes of what is read: for the OpenAPI description, and so that an unknown field can be refused.

The documents themselves are made by projections/ and pass through as they are; a test holds these shapes to them.
"""
