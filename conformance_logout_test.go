package oidcgate_test

func logoutPlans() []conformancePlan { return nil }
