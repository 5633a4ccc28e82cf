"""The measures of a trained model, as functions of models and arrays."""
