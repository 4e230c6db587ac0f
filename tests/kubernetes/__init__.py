"""Manifests and the chart, rendered by kubectl and helm and read with Kubernetes' schemas."""
