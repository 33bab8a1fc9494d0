package op

var RefuseForbidden = refuseForbidden
