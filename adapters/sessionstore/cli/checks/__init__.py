"""What ``sessionstore doctor`` looks at: one module for each kind of store."""
