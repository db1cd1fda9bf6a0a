"""The HTTP API: handlers are functions from a request to an answer; aiohttp and the command line both call them."""
