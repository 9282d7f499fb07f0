"""What the demo's team is asked, and the small library that it looks things up in."""

from __future__ import annotations

PASSAGES = {
    "phases": "The Moon shines by reflected sunlight. As it goes around the Earth we see its bright half from "
    "changing angles, and this is why the Moon has phases. From one full Moon to the next it takes 29.5 days.",
    "tides": "Tides are made by the gravity of the Moon and, less strongly, of the Sun. The oceans bulge on the side "
    "of the Earth that faces the Moon and on the side away from it. Most coasts pass both bulges in a day and have "
    "two high tides.",
    "seasons": "The Earth has seasons because its axis is tilted by 23.4 degrees. The half that leans towards the Sun "
    "has summer: days are longer there and light falls more steeply. The distance to the Sun is not the cause; the "
    "Earth is nearest to it in January.",
    "sky": "Air scatters blue light far more than red light. Scattered blue light reaches us from all over the sky, "
    "and this is why the sky is blue. At sunset light comes a longer way through the air, which takes most of the "
    "blue out of it.",
    "eclipses": "A solar eclipse happens when the Moon passes between the Earth and the Sun. A lunar eclipse happens "
    "when the Moon passes through the shadow of the Earth. There is not an eclipse every month because the orbit of "
    "the Moon is tilted by 5 degrees.",
    "twinkling": "Stars twinkle because their light passes through moving layers of warm and cold air, which bend it "
    "to and fro. Planets twinkle less: they are near enough to be small discs instead of points.",
    "comets": "A comet is a lump of ice and dust. Near the Sun the ice turns to gas and takes dust along. Sunlight and "
    "the solar wind push both away, so the tail of a comet points away from the Sun.",
    "rings": "The rings of Saturn are countless pieces of ice, from grains to the size of houses. Each piece is on an "
    "orbit of its own. Across more than 270,000 kilometres the rings are mostly only some ten metres thick.",
    "polaris": "The axis of the Earth points almost exactly at Polaris, the pole star. While the Earth turns, all "
    "other stars seem to circle around Polaris, which seems to stand still.",
    "meteors": "A meteor, or shooting star, is a grain of dust that burns up in the air. Meteor showers come every "
    "year when the Earth crosses the dust that a comet has left on its orbit.",
}
"""Passages by name."""

QUESTIONS = [
    "Why does the Moon have phases?",
    "Why are there two high tides in a day?",
    "Why does the Earth have seasons?",
    "Why is there not an eclipse every month?",
    "Why is the sky blue?",
    "Why do stars twinkle, and planets less?",
    "Why does the tail of a comet point away from the Sun?",
    "Why do meteor showers come every year?",
]
"""The tasks."""
