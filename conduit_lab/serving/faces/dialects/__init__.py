"""Dialects: the streams of an app as the event streams that chat front ends read."""
