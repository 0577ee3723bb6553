"""The server: OpenAI's completions API and a page, over the one generation engine.

Starlette routes, uvicorn listens, msgspec checks what comes in. Each model writes in a thread of
its own; everything else happens on the event loop.
"""
