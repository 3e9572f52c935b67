"""Hardware: devices, execution providers and facts about the machine."""
