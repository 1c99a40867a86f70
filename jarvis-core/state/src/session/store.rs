//! Implementation of the trait for the public stores: each is a [`Front`](super::front::Front) over its own records.

/// Implements the trait for a public store whose only field is a [`Front`].
macro_rules! store {
    ($store:ty, $name:literal) => {
        #[async_trait::async_trait]
        impl $crate::session::SessionStore for $store {
            fn locality(&self) -> ::base::vocabulary::Locality {
                self.0.locality()
            }

            async fn create(
                &self,
                new: $crate::session::NewSession,
            ) -> ::base::Result<$crate::session::Session> {
                self.0.create(new).await.map_err(|e| e.with_operation(concat!($name, ".create")))
            }

            async fn load(
                &self,
                id: &$crate::session::SessionId,
            ) -> ::base::Result<Option<$crate::session::Session>> {
                self.0.load(id).await.map_err(|e| e.with_operation(concat!($name, ".load")))
            }

            fn load_now(
                &self,
                id: &$crate::session::SessionId,
            ) -> Option<::base::Result<Option<$crate::session::Session>>> {
                let loaded = self.0.load_now(id)?;
                Some(loaded.map_err(|e| e.with_operation(concat!($name, ".load"))))
            }

            async fn save(
                &self,
                save: $crate::session::Save,
            ) -> ::base::Result<$crate::session::SaveOutcome> {
                self.0.save(save).await.map_err(|e| e.with_operation(concat!($name, ".save")))
            }

            async fn update<'a>(
                &self,
                id: &$crate::session::SessionId,
                deadline: std::time::Duration,
                change: $crate::session::Change<'a>,
            ) -> ::base::Result<Option<$crate::session::Session>> {
                let updated = self.0.update(id, deadline, change).await;
                updated.map_err(|e| e.with_operation(concat!($name, ".update")))
            }

            async fn turn(
                &self,
                id: &$crate::session::SessionId,
                deadline: std::time::Duration,
            ) -> ::base::Result<$crate::session::SessionTurn> {
                let turn = self.0.turn(id, deadline).await;
                turn.map_err(|e| e.with_operation(concat!($name, ".turn")))
            }

            async fn delete(&self, session: &$crate::session::SessionRef) -> ::base::Result<bool> {
                self.0
                    .delete(session)
                    .await
                    .map_err(|e| e.with_operation(concat!($name, ".delete")))
            }

            async fn extend(
                &self,
                session: &$crate::session::SessionRef,
                ttl: Option<std::time::Duration>,
            ) -> ::base::Result<Option<::base::clock::WallTime>> {
                let extended = self.0.extend(session, ttl).await;
                extended.map_err(|e| e.with_operation(concat!($name, ".extend")))
            }

            async fn load_and_extend(
                &self,
                id: &$crate::session::SessionId,
                ttl: Option<std::time::Duration>,
            ) -> ::base::Result<Option<$crate::session::Session>> {
                let prolonged = self.0.load_and_extend(id, ttl).await;
                prolonged.map_err(|e| e.with_operation(concat!($name, ".load_and_extend")))
            }

            async fn regenerate(
                &self,
                id: &$crate::session::SessionId,
                user: Option<::base::vocabulary::UserId>,
            ) -> ::base::Result<Option<$crate::session::Session>> {
                let moved = self.0.regenerate(id, user).await;
                moved.map_err(|e| e.with_operation(concat!($name, ".regenerate")))
            }

            async fn list(
                &self,
                user: &::base::vocabulary::UserId,
            ) -> ::base::Result<Vec<$crate::session::SessionSummary>> {
                self.0.list(user).await.map_err(|e| e.with_operation(concat!($name, ".list")))
            }

            async fn clear<'a>(
                &self,
                user: &::base::vocabulary::UserId,
                except: Option<&'a $crate::session::SessionRef>,
            ) -> ::base::Result<u64> {
                let cleared = self.0.clear(user, except).await;
                cleared.map_err(|e| e.with_operation(concat!($name, ".clear")))
            }

            async fn count<'a>(
                &self,
                user: Option<&'a ::base::vocabulary::UserId>,
            ) -> ::base::Result<u64> {
                self.0.count(user).await.map_err(|e| e.with_operation(concat!($name, ".count")))
            }

            async fn load_many(
                &self,
                ids: &[$crate::session::SessionId],
            ) -> ::base::Result<Vec<Option<$crate::session::Session>>> {
                let loaded = self.0.load_many(ids).await;
                loaded.map_err(|e| e.with_operation(concat!($name, ".load_many")))
            }

            async fn save_many(
                &self,
                saves: Vec<$crate::session::Save>,
            ) -> Vec<::base::Result<$crate::session::SaveOutcome>> {
                let saved = self.0.save_many(saves).await.into_iter();
                saved
                    .map(|it| it.map_err(|e| e.with_operation(concat!($name, ".save_many"))))
                    .collect()
            }

            async fn delete_many(
                &self,
                sessions: &[$crate::session::SessionRef],
            ) -> ::base::Result<u64> {
                let deleted = self.0.delete_many(sessions).await;
                deleted.map_err(|e| e.with_operation(concat!($name, ".delete_many")))
            }

            async fn scan<'a>(
                &self,
                cursor: Option<&'a str>,
                limit: usize,
            ) -> ::base::Result<$crate::session::SessionPage> {
                let page = self.0.scan(cursor, limit).await;
                page.map_err(|e| e.with_operation(concat!($name, ".scan")))
            }
        }
    };
}
pub(super) use store;
