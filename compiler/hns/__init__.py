"""Rule lists for Windows: access lists of the Host Networking Service, as documents for its endpoints.

Never run on Windows. Source of the form: microsoft/hcsshim, package hcn (hcnpolicy.go, hcnendpoint.go); of
the meaning: the same project's issue 1059 and microsoft/Windows-Containers issue 616.
"""
