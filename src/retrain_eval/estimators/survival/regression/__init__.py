"""Cox and discrete-time hazard models on the cells of a life table."""
