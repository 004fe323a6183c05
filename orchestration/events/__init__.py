"""Lambda functions, one module each. They must not import Prefect."""
