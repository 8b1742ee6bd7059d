"""Reading captured traffic: what replicas keep of the requests that they answered."""
