"""The built-in web page: static files, no build step."""
