-- Health of JIL resources for Argo CD, from their conditions. One script for all kinds of jil.io: put it under
-- resource.customizations.health.jil.io_<Kind> in ConfigMap argocd-cm (docs/argocd.md says how). Only Lua's own language is
-- used, no library: Argo CD opens none by default.
local health = {status = "Progressing", message = "the operator has not looked at it yet"}
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
local generation = 0
if obj.metadata ~= nil and obj.metadata.generation ~= nil then
  generation = obj.metadata.generation
end
local ready = nil
for _, condition in ipairs(status.conditions) do
  if condition.type == "Ready" then
    ready = condition
  end
end
if ready == nil then
  return health
end
health.message = ready.reason .. ": " .. (ready.message or "")
if obj.metadata ~= nil and obj.metadata.deletionTimestamp ~= nil then
  return health -- DeletionBlocked too: it waits for its grant, without limit, and is not broken
end
if status.observedGeneration == nil or status.observedGeneration < generation then
  health.message = "the operator has not looked at this generation yet"
  return health
end
if ready.status == "True" then
  health.status = "Healthy" -- Stopped and Maintenance too: that is what the spec asks for
  return health
end
-- What a person must mend, or what is lost; everything else is on its way.
local degraded = {
  SpecUnreadable = true, ReleaseNotFound = true, NetworkNotFound = true, JurisdictionNotFound = true,
  NamespaceNotLabelled = true, SecondJurisdiction = true, NodeIdNotMember = true, NodeIdClaimed = true,
  NameTaken = true, NameTooLong = true, UnknownService = true, VolumeLost = true, KeyLost = true, KeyForeign = true,
  SignStateLost = true, GenesisMismatch = true, MachineLost = true, PodFailed = true, FencingUnconfirmed = true,
  Forbidden = true, ImageRefused = true, NotWaiting = true, AlreadyRan = true, Expired = true, NoPolicy = true,
  TrustNotEnforced = true
}
if status.phase == "Degraded" or status.phase == "Invalid" or status.phase == "Refused" or degraded[ready.reason] then
  health.status = "Degraded"
end
if status.phase == "Revoked" then
  health.status = "Suspended"
end
return health
