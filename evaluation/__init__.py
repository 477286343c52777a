"""Performance of temporal proposals (AR@AN, AUC) and detections (mAP), as ActivityNet's toolkit defines it."""
