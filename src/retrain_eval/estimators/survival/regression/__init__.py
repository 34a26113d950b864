"""Cox and discrete-time hazard models, fitted on the cells of a life table."""
