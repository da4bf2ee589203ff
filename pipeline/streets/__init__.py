"""The built-in world: street scenes drawn as a simulator and as a camera would show them."""
