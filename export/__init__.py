"""Export: turns a trained model into an artifact that stands alone. `export_model(model, out)` is the door."""

__all__ = ["export_model"]


def __getattr__(name):
    if name == "export_model":  # only here: `export.verify` must run where there is no Keras
        from export.pipeline import export_model

        return export_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
