//! Measures the data layer.
