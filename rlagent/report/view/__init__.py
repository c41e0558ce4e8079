"""The pages of `rlagent view`: what stands in outputs/, shown in a browser and never written.

server.py answers requests; each page has a module of its own, which reads the same records as the
reports do.
"""
