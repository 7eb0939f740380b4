"""The measure of all loads: bare Flask routes under the product's gunicorn settings."""
