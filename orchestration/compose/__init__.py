"""The stack of docker-compose.yml: production in small, on one Docker engine."""
