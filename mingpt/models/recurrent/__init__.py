"""Recurrent layers: what one step does, how it is driven over time, how layers are stacked."""
