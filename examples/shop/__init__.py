"""A small shop in three processes, instrumented only with Lookout's decorators and middleware.

load ──► gateway (Starlette) ──► orders (Flask) ──► stock (async worker, SQLite)
                 └──────── fan-out ────────────────►
"""
