"""Everything in AWS, as one Pulumi program. __main__.py is its table of contents."""
