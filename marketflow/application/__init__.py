"""The use cases: what is asked of the service, and the pipeline that feeds the answers."""
