"""All AWS resources, as one Pulumi program. program.py is its table of contents."""
