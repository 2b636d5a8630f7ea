"""Emitting and reading without asyncio, as in a script, in Django or in Flask."""

from penstock import App, Event

app = App("script")


class PageViewed(Event, name="page.viewed"):
    path: str


with app.sync as shop:
    first = shop.emit(PageViewed(path="/"))
    print("emitted to", first.stream)
    shop.emit_many(PageViewed(path=f"/product/{number}") for number in range(3))

    views = shop.read(PageViewed, start="beginning").read()
    print("read:", ", ".join(view.path for view in views))
