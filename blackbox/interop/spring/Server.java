package shop;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.function.Function;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.core.annotation.Order;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.userdetails.User;
import org.springframework.security.core.userdetails.UserDetailsService;
import org.springframework.security.oauth2.core.AuthorizationGrantType;
import org.springframework.security.oauth2.core.ClientAuthenticationMethod;
import org.springframework.security.oauth2.core.oidc.OidcUserInfo;
import org.springframework.security.oauth2.core.oidc.endpoint.OidcParameterNames;
import org.springframework.security.oauth2.server.authorization.client.InMemoryRegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClient;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.config.annotation.web.configurers.OAuth2AuthorizationServerConfigurer;
import org.springframework.security.oauth2.server.authorization.oidc.authentication.OidcUserInfoAuthenticationContext;
import org.springframework.security.oauth2.server.authorization.settings.AuthorizationServerSettings;
import org.springframework.security.oauth2.server.authorization.settings.ClientSettings;
import org.springframework.security.oauth2.server.authorization.settings.TokenSettings;
import org.springframework.security.oauth2.server.authorization.token.JwtEncodingContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenCustomizer;
import org.springframework.security.provisioning.InMemoryUserDetailsManager;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.security.web.authentication.LoginUrlAuthenticationEntryPoint;

/** A Spring Authorization Server. Its users and its service's address are in the file that CONFIG names. */
@SpringBootApplication
public class Server {
    private static final JsonNode config = read();

    public static void main(String[] args) {
        SpringApplication.run(Server.class, args);
    }

    private static JsonNode read() {
        try {
            return new ObjectMapper().readTree(Files.readString(Path.of(System.getenv("CONFIG"))));
        } catch (java.io.IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    @Bean
    @Order(1)
    SecurityFilterChain protocol(HttpSecurity http) throws Exception {
        Function<OidcUserInfoAuthenticationContext, OidcUserInfo> userinfo = context ->
            new OidcUserInfo(claims(context.getAuthorization().getPrincipalName()));
        OAuth2AuthorizationServerConfigurer server = OAuth2AuthorizationServerConfigurer.authorizationServer();
        http.securityMatcher(server.getEndpointsMatcher())
            .with(server, s -> s.oidc(oidc -> oidc.userInfoEndpoint(e -> e.userInfoMapper(userinfo))))
            .authorizeHttpRequests(r -> r.anyRequest().authenticated())
            .exceptionHandling(e -> e.authenticationEntryPoint(new LoginUrlAuthenticationEntryPoint("/login")))
            .oauth2ResourceServer(r -> r.jwt(Customizer.withDefaults()));
        return http.build();
    }

    @Bean
    @Order(2)
    SecurityFilterChain pages(HttpSecurity http) throws Exception {
        return http.authorizeHttpRequests(r -> r.anyRequest().authenticated())
            .formLogin(Customizer.withDefaults()).build();
    }

    @Bean
    UserDetailsService users() {
        InMemoryUserDetailsManager users = new InMemoryUserDetailsManager();
        for (JsonNode u : config.get("users")) {
            users.createUser(User.withUsername(u.get("login").asText())
                .password("{noop}" + u.get("password").asText()).authorities("user").build());
        }
        return users;
    }

    private static Map<String, Object> claims(String login) {
        for (JsonNode u : config.get("users")) {
            if (u.get("login").asText().equals(login)) {
                return new ObjectMapper().convertValue(u.get("claims"), Map.class);
            }
        }
        throw new IllegalArgumentException(login);
    }

    @Bean
    OAuth2TokenCustomizer<JwtEncodingContext> idToken() {
        return context -> {
            if (OidcParameterNames.ID_TOKEN.equals(context.getTokenType().getValue())) {
                context.getClaims().claims(c -> c.putAll(claims(context.getPrincipal().getName())));
            } else {
                context.getClaims().subject((String) claims(context.getPrincipal().getName()).get("sub"));
            }
        };
    }

    private static RegisteredClient.Builder client(String id, String secret, ClientAuthenticationMethod... methods) {
        String base = config.get("base").asText();
        RegisteredClient.Builder client = RegisteredClient.withId(UUID.randomUUID().toString())
            .clientId(id)
            .authorizationGrantType(AuthorizationGrantType.AUTHORIZATION_CODE)
            .authorizationGrantType(AuthorizationGrantType.REFRESH_TOKEN)
            .redirectUri(base + "/auth/callback").postLogoutRedirectUri(base + "/auth/logout/done")
            .scopes(s -> s.addAll(List.of("openid", "profile", "email")))
            .tokenSettings(TokenSettings.builder().accessTokenTimeToLive(Duration.ofSeconds(8)).reuseRefreshTokens(false).build())
            .clientSettings(ClientSettings.builder().requireProofKey(true).build());
        if (secret != null) {
            client.clientSecret("{noop}" + secret);
        }
        for (ClientAuthenticationMethod m : methods) {
            client.clientAuthenticationMethod(m);
        }
        return client;
    }

    @Bean
    RegisteredClientRepository clients() {
        String secret = config.get("secret").asText();
        return new InMemoryRegisteredClientRepository(
            client("shop", secret, ClientAuthenticationMethod.CLIENT_SECRET_BASIC, ClientAuthenticationMethod.CLIENT_SECRET_POST).build(),
            client("shop-public", null, ClientAuthenticationMethod.NONE).build());
    }

    @Bean
    AuthorizationServerSettings settings() {
        return AuthorizationServerSettings.builder().issuer(config.get("issuer").asText()).build();
    }
}
