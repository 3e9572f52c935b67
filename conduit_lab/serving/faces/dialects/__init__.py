"""Dialects: the streams of an app in the event formats of chat front ends."""
