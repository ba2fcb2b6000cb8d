//! Where the class of an Ingress is said.

/// On an IngressClass: Ingresses that name none get this one.
pub const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
/// On an Ingress: its class, where it stood before it had a field.
pub const OLD_CLASS: &str = "kubernetes.io/ingress.class";
