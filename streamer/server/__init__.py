"""Where clients connect: one port for websockets, HTTP, metrics and the dashboard.

`serve.Server` is what the composition root uses. Other vendors' APIs and REST are modules beside
`native.py`: each exports `routes(context)`, and `app.py` lists them.
"""
