"""What this node serves to other nodes beside storage: query, retrieve, commitment, worklist (PS3.4 C, J, K)."""
