"""The service: a bundle over HTTP, and the page that people use it with."""
