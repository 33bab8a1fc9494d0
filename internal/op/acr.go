package op

import "encoding/json"

// acrOf returns the classes that a claims parameter names for the ID Token, and whether it demands
// one of them or only prefers them (OpenID Connect Core, 5.5.1).
func acrOf(chosen string) (classes []string, essential bool) {
	var request struct {
		IDToken struct {
			ACR struct {
				Essential bool     `json:"essential"`
				Value     string   `json:"value"`
				Values    []string `json:"values"`
			} `json:"acr"`
		} `json:"id_token"`
	}
	if chosen == "" { // as at an ordinary login, which spends no time on it
		return nil, false
	}
	_ = json.Unmarshal([]byte(chosen), &request) // what is no text names no class
	acr := request.IDToken.ACR
	if acr.Value != "" {
		acr.Values = append(acr.Values, acr.Value)
	}
	return acr.Values, acr.Essential
}

// essentialACR adds to a claims parameter that the acr of the ID Token must be one of those values
// (OpenID Connect Core, 5.5.1.1). chosen is that of the login, a JSON object, or "".
func essentialACR(chosen string, values []string) string {
	request := map[string]any{}
	_ = json.Unmarshal([]byte(chosen), &request) // it was checked
	idToken, ok := request["id_token"].(map[string]any)
	if !ok {
		idToken = map[string]any{}
	}
	idToken["acr"] = map[string]any{"essential": true, "values": values}
	request["id_token"] = idToken
	text, _ := json.Marshal(request) // it came from JSON: cannot fail
	return string(text)
}
