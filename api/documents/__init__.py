"""The shapes of the documents that the API answers with: for the OpenAPI description, and to refuse unknown fields.

The documents themselves are made by projections/ and pass through as they are; a test holds these shapes to them.
"""
