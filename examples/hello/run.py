"""An event, a listener, an emit, a run."""

from penstock import App, Event

app = App("hello")


class Greeted(Event, name="greeted"):
    name: str


@app.listener(Greeted)
async def greet(greeted: Greeted) -> None:
    print(f"Hello, {greeted.name}!")


app.sync.emit(Greeted(name="world"))
app.sync.run(until_idle=True)
